# SkyvyOS Server 1.0.0 (Debian 13 trixie), made by skyvypack for Packer 1.16.0; README.md says how to use it.

packer {
  required_version = ">= 1.7.0"

  required_plugins {
    virtualbox = {
      source  = "github.com/hashicorp/virtualbox"
      version = ">= 1.1.5, < 2.0.0"
    }
  }
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
  description = "Folder that Packer makes for what is exported. Empty: output."
  default     = ""
}

variable "headless" {
  type        = bool
  description = "No window while it is made."
  default     = false
}

variable "seed" {
  type        = string
  description = "Folder of id_ed25519 and vendor-data, made by prepare.sh. Empty: build."
  default     = ""
}

variable "ssh_timeout" {
  type        = string
  description = "How long the guest may take until it answers."
  default     = "30m"
}

# Variables cannot name this folder in their defaults, locals can.
locals {
  seed               = var.seed == "" ? "${path.root}/build" : var.seed
  output_directory   = var.output_directory == "" ? "${path.root}/output" : var.output_directory
  installer          = var.installer == "" ? "${path.root}/build/installer.iso" : var.installer
  installer_checksum = var.installer_checksum == "" ? "file:${path.root}/build/installer.iso.sha256" : var.installer_checksum
}

source "virtualbox-iso" "skyvyos-server" {
  # The installer holds every answer, and what cloud-init needs afterwards: nothing is typed.
  iso_url              = local.installer
  iso_checksum         = local.installer_checksum
  guest_os_type        = "Debian_64"
  disk_size            = 20480
  hard_drive_interface = "ide"

  # The machine, as clones will have it.
  cpus           = 4
  memory         = 4096
  firmware       = "bios"
  chipset        = "ich9"
  nic_type       = "82545EM"
  gfx_controller = "vboxsvga"
  gfx_vram_size  = 32
  nested_virt    = true

  # What is left on this machine.
  vm_name              = "skyvyos-server-1.0.0"
  output_directory     = local.output_directory
  headless             = var.headless
  format               = "ovf"
  guest_additions_mode = "disable"

  # vendor-data makes this account; sealing removes it.
  communicator         = "ssh"
  ssh_username         = "packer"
  ssh_private_key_file = "${local.seed}/id_ed25519"
  ssh_timeout          = var.ssh_timeout

  # Leaves no trace of the build, then switches off.
  shutdown_command = "sudo sh /tmp/skyvypack-seal.sh"
  shutdown_timeout = "15m"
}

build {
  sources = ["source.virtualbox-iso.skyvyos-server"]

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
