# SkyvyOS Server 1.0.0 (Debian 13 trixie), made by skyvypack for Packer 1.16.0; README.md says how to use it.

packer {
  required_version = ">= 1.7.0"

  required_plugins {
    proxmox = {
      source  = "github.com/hashicorp/proxmox"
      version = ">= 1.2.4, < 2.0.0"
    }
  }
}

variable "proxmox_url" {
  type        = string
  description = "URL of the API: https://…/api2/json."
  default     = env("PROXMOX_URL")

  validation {
    condition     = var.proxmox_url != ""
    error_message = "Give proxmox_url or PROXMOX_URL in the environment."
  }
}

variable "proxmox_username" {
  type        = string
  description = "Account, such as packer@pve."
  default     = env("PROXMOX_USERNAME")

  validation {
    condition     = var.proxmox_username != ""
    error_message = "Give proxmox_username or PROXMOX_USERNAME in the environment."
  }
}

variable "proxmox_password" {
  type        = string
  description = "Password of the account. From PROXMOX_PASSWORD in the environment."
  default     = env("PROXMOX_PASSWORD")
  sensitive   = true
}

variable "proxmox_token" {
  type        = string
  description = "Secret of the API token that proxmox_username names; takes the place of a password. From PROXMOX_TOKEN in the environment."
  default     = env("PROXMOX_TOKEN")
  sensitive   = true
}

variable "node" {
  type        = string
  description = "Node of the cluster, where the template is made."
  default     = "pve1"

  validation {
    condition     = var.node != ""
    error_message = "Give node."
  }
}

variable "storage" {
  type        = string
  description = "Storage of the template's disks."
  default     = "local-lvm"

  validation {
    condition     = var.storage != ""
    error_message = "Give storage."
  }
}

variable "bridge" {
  type        = string
  description = "Bridge of the node, that the network card is on."
  default     = "vmbr0"

  validation {
    condition     = var.bridge != ""
    error_message = "Give bridge."
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

variable "seed" {
  type        = string
  description = "Folder of id_ed25519 and vendor-data, made by prepare.sh. Empty: build."
  default     = ""
}

variable "ssh_timeout" {
  type        = string
  description = "How long the guest may take until it answers."
  default     = "20m"
}

# Variables cannot name this folder in their defaults, locals can.
locals {
  seed               = var.seed == "" ? "${path.root}/build" : var.seed
  installer          = var.installer == "" ? "${path.root}/build/installer.iso" : var.installer
  installer_checksum = var.installer_checksum == "" ? "file:${path.root}/build/installer.iso.sha256" : var.installer_checksum
}

source "proxmox-iso" "skyvyos-server" {
  proxmox_url  = var.proxmox_url
  username     = var.proxmox_username
  password     = var.proxmox_password
  token        = var.proxmox_token
  task_timeout = "10m"
  node         = var.node

  # A name of its own for each version: the last one stays until this one is proven.
  vm_name              = "skyvyos-server-1.0.0"
  template_description = "SkyvyOS Server 1.0.0 (Debian 13 trixie)"

  # The machine, as clones will have it.
  cores           = 2
  memory          = 2048
  cpu_type        = "x86-64-v2-AES"
  os              = "l26"
  scsi_controller = "virtio-scsi-single"
  qemu_agent      = true
  serials         = ["socket"]
  machine         = "q35"

  vga {
    type = "std"
  }

  disks {
    type         = "scsi"
    disk_size    = "8G"
    storage_pool = var.storage
    format       = "raw"
    cache_mode   = "none"
    io_thread    = true
    discard      = true
  }

  network_adapters {
    model  = "virtio"
    bridge = var.bridge
  }

  boot_iso {
    iso_url          = local.installer
    iso_checksum     = local.installer_checksum
    iso_storage_pool = "local"
    unmount          = true
  }

  # A drive by which Proxmox gives clones their first user-data.
  cloud_init              = true
  cloud_init_storage_pool = var.storage

  # vendor-data makes this account; sealing removes it.
  communicator         = "ssh"
  ssh_username         = "packer"
  ssh_private_key_file = "${local.seed}/id_ed25519"
  ssh_timeout          = var.ssh_timeout
}

build {
  sources = ["source.proxmox-iso.skyvyos-server"]

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

  # Leaves no trace of the build, then switches off.
  provisioner "shell" {
    inline            = ["sudo sh /tmp/skyvypack-seal.sh", "sleep 900", "exit 1"]
    expect_disconnect = true
    skip_clean        = true
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
