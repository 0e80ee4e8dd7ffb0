# SkyvyOS Server 1.0.0 (Debian 13 trixie), made by skyvypack for Packer 1.16.0; README.md says how to use it.

packer {
  required_version = ">= 1.7.0"

  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.1.4, < 2.0.0"
    }
  }
}

variable "seed" {
  type        = string
  description = "Folder of id_ed25519 and vendor-data, made by prepare.sh. Empty: build."
  default     = ""
}

variable "ssh_timeout" {
  type        = string
  description = "How long the guest may take until it answers."
  default     = "15m"
}

variable "layer" {
  type        = string
  description = "Folder of disk.qcow2, vmlinuz and initrd.img, made by layer.sh. Empty: build/layer."
  default     = ""
}

variable "disk_checksum" {
  type        = string
  description = "Checksum of disk.qcow2, such as sha256:…; none trusts the layer as it stands."
  default     = "none"
}

variable "output_directory" {
  type        = string
  description = "Folder that Packer makes for the finished disk. Empty: output."
  default     = ""
}

variable "console" {
  type        = string
  description = "File of the guest's serial log. Empty: build/console.log."
  default     = ""
}

variable "accelerator" {
  type        = string
  description = "How QEMU runs the guest: kvm, tcg or hvf."
  default     = "tcg"

  validation {
    condition     = contains(["hvf", "kvm", "tcg"], var.accelerator)
    error_message = "The accelerator is kvm, tcg or hvf."
  }
}

variable "compress" {
  type        = bool
  description = "Finish with a compressed disk that stands alone; without, it needs the disk it started from."
  default     = true
}

# Variables cannot name this folder in their defaults, locals can.
locals {
  seed             = var.seed == "" ? "${path.root}/build" : var.seed
  output_directory = var.output_directory == "" ? "${path.root}/output" : var.output_directory
  console          = var.console == "" ? "${path.root}/build/console.log" : var.console
  layer            = var.layer == "" ? "${path.root}/build/layer" : var.layer
  disk             = "${local.layer}/disk.qcow2"
}

source "qemu" "skyvyos-server" {
  accelerator  = var.accelerator
  machine_type = "q35"
  cpus         = 2
  memory       = 2048
  net_device   = "virtio-net"
  headless     = true
  disable_vnc  = true
  cpu_model    = "max"

  # No screen; the console is logged; only this host reaches SSH. The layer has no boot loader yet: QEMU loads its kernel.
  qemuargs = [
    ["-display", "none"],
    ["-vnc", "none"],
    ["-serial", "file:${local.console}"],
    ["-netdev", "user,id=user.0,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22"],
    ["-kernel", "${local.layer}/vmlinuz"],
    ["-initrd", "${local.layer}/initrd.img"],
    ["-append", "root=LABEL=root rw console=tty0 console=ttyS0,115200 mitigations=off"],
  ]

  # The guest writes to an overlay; what it starts from never changes.
  iso_url = local.disk

  # Nothing is downloaded: the layer is made on this machine. skyvypack:ignore checksum-none
  iso_checksum     = var.disk_checksum
  disk_image       = true
  use_backing_file = true
  format           = "qcow2"
  disk_size        = "8G"
  disk_interface   = "virtio"

  # A build that dies is thrown away: no need to wait for the host's disk.
  disk_cache = "unsafe"

  # What the guest frees leaves the file, too.
  disk_discard       = "unmap"
  disk_detect_zeroes = "unmap"
  disk_compression   = var.compress
  output_directory   = local.output_directory
  vm_name            = "skyvyos-server-1.0.0.qcow2"

  # cloud-init finds its data on a CD of this label.
  cd_files = ["${path.root}/user-data", "${path.root}/meta-data", "${local.seed}/vendor-data"]
  cd_label = "cidata"

  # vendor-data makes this account; sealing removes it.
  communicator         = "ssh"
  ssh_username         = "packer"
  ssh_private_key_file = "${local.seed}/id_ed25519"
  ssh_timeout          = var.ssh_timeout

  # There is nothing to type, so nothing to wait for.
  boot_wait = "-1s"

  # Leaves no trace of the build, then switches off.
  shutdown_command = "sudo sh /tmp/skyvypack-seal.sh"
  shutdown_timeout = "15m"

  qemu_img_args {
    create = ["-F", "qcow2"]
  }
}

build {
  sources = ["source.qemu.skyvyos-server"]

  # Waits for cloud-init, which configures everything; fails with its errors.
  provisioner "shell" {
    scripts         = ["${path.root}/scripts/wait.sh", "${path.root}/scripts/bootloader.sh"]
    execute_command = "sudo env {{ .Vars }} sh '{{ .Path }}'"
  }

  # Sealing comes last, and ends with the power.
  provisioner "file" {
    source      = "${path.root}/scripts/seal.sh"
    destination = "/tmp/skyvypack-seal.sh"
  }

  post-processor "manifest" {
    output     = "${path.root}/packer-manifest.json"
    strip_path = true
    custom_data = {
      name    = "skyvyos-server"
      version = "1.0.0"
      debian  = "trixie"
    }
  }
}
