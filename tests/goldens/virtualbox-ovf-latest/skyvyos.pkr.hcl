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

variable "source_path" {
  type        = string
  description = "The OVA or OVF to start from."
  default     = "debian-13.ova"

  validation {
    condition     = var.source_path != ""
    error_message = "Give source_path."
  }
}

variable "source_checksum" {
  type        = string
  description = "Checksum of it, such as sha256:…, or none."
  default     = "none"
}

variable "output_directory" {
  type        = string
  description = "Folder that Packer makes for what is exported. Empty: output."
  default     = ""
}

variable "headless" {
  type        = bool
  description = "No window while it is made."
  default     = true
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
  seed             = var.seed == "" ? "${path.root}/build" : var.seed
  output_directory = var.output_directory == "" ? "${path.root}/output" : var.output_directory
}

source "virtualbox-ovf" "skyvyos-server" {
  source_path = var.source_path
  checksum    = var.source_checksum

  # cloud-init finds its data on a CD of this label.
  cd_files = ["${path.root}/user-data", "${path.root}/meta-data", "${local.seed}/vendor-data"]
  cd_label = "cidata"

  # The machine, as clones will have it; what this builder has no argument for, in VirtualBox's own words.
  vboxmanage = [
    ["modifyvm", "{{ .Name }}", "--cpus", "2"],
    ["modifyvm", "{{ .Name }}", "--memory", "2048"],
    ["modifyvm", "{{ .Name }}", "--firmware", "efi"],
    ["modifyvm", "{{ .Name }}", "--chipset", "piix3"],
    ["modifyvm", "{{ .Name }}", "--nictype1", "virtio"],
    ["modifyvm", "{{ .Name }}", "--graphicscontroller", "vmsvga"],
    ["modifyvm", "{{ .Name }}", "--vram", "16"],
    ["modifyvm", "{{ .Name }}", "--nested-hw-virt", "off"],
  ]

  # What is left on this machine.
  vm_name              = "skyvyos-server-1.0.0"
  output_directory     = local.output_directory
  headless             = var.headless
  format               = "ova"
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
  sources = ["source.virtualbox-ovf.skyvyos-server"]

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
