# SkyvyOS Server 1.0.0 (Debian 13 trixie), made by skyvypack for Packer 1.6.6; README.md says how to use it.

packer {
  required_version = ">= 1.6.6"
}

variable "seed" {
  type        = string
  description = "Folder of id_ed25519 and vendor-data, made by prepare.sh. Empty: build."
  default     = ""
}

variable "ssh_timeout" {
  type        = string
  description = "How long the guest may take until it answers."
  default     = "2h"
}

variable "installer" {
  type        = string
  description = "The installer, made by prepare.sh. Empty: build/installer.iso."
  default     = ""
}

variable "installer_checksum" {
  type        = string
  description = "Checksum of the installer, such as sha256:…, or file: and a list of them. Empty: what prepare.sh wrote."
  default     = ""
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
  seed               = var.seed == "" ? "${path.root}/build" : var.seed
  output_directory   = var.output_directory == "" ? "${path.root}/output" : var.output_directory
  console            = var.console == "" ? "${path.root}/build/console.log" : var.console
  installer          = var.installer == "" ? "${path.root}/build/installer.iso" : var.installer
  installer_checksum = var.installer_checksum == "" ? "file:${path.root}/build/installer.iso.sha256" : var.installer_checksum
}

source "qemu" "skyvyos-server" {
  accelerator  = var.accelerator
  machine_type = "q35"
  cpus         = 2
  memory       = 2048
  net_device   = "virtio-net"
  headless     = true
  disable_vnc  = true

  # No screen; the console is logged; only this host reaches SSH.
  qemuargs = [
    ["-cpu", "max"],
    ["-display", "none"],
    ["-vnc", "none"],
    ["-serial", "file:${local.console}"],
    ["-netdev", "user,id=user.0,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22"],
  ]

  # It holds every answer, and what cloud-init needs afterwards.
  iso_url        = local.installer
  iso_checksum   = local.installer_checksum
  format         = "qcow2"
  disk_size      = "8G"
  disk_interface = "virtio"

  # A build that dies is thrown away: no need to wait for the host's disk.
  disk_cache = "unsafe"

  # What the guest frees leaves the file, too.
  disk_discard       = "unmap"
  disk_detect_zeroes = "unmap"
  disk_compression   = var.compress
  output_directory   = local.output_directory
  vm_name            = "skyvyos-server-1.0.0.qcow2"

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
}

build {
  sources = ["source.qemu.skyvyos-server"]

  # Waits for cloud-init, which configures everything; fails with its errors.
  provisioner "shell" {
    scripts         = ["${path.root}/scripts/wait.sh"]
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
