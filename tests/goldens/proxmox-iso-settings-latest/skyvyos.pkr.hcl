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
  default     = "https://pve.example:8006/api2/json"

  validation {
    condition     = var.proxmox_url != ""
    error_message = "Give proxmox_url or PROXMOX_URL in the environment."
  }
}

variable "proxmox_username" {
  type        = string
  description = "Account, such as packer@pve."
  default     = "packer@pve!bake"

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
  default     = "pve2"

  validation {
    condition     = var.node != ""
    error_message = "Give node."
  }
}

variable "storage" {
  type        = string
  description = "Storage of the template's disks."
  default     = "ceph"

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

variable "iso_url" {
  type        = string
  description = "Debian's installer image, as the platform names it."
  default     = "local:iso/debian-13.iso"

  validation {
    condition     = var.iso_url != ""
    error_message = "Give iso_url."
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
  default     = "20m"
}

# Variables cannot name this folder in their defaults, locals can.
locals {
  seed = var.seed == "" ? "${path.root}/build" : var.seed
}

source "proxmox-iso" "skyvyos-server" {
  proxmox_url  = var.proxmox_url
  username     = var.proxmox_username
  password     = var.proxmox_password
  token        = var.proxmox_token
  task_timeout = "10m"
  node         = var.node
  pool         = "templates"

  # A name of its own for each version: the last one stays until this one is proven.
  vm_name              = "skyvyos-server-1.0.0"
  vm_id                = 9000
  template_description = "Made by \"us\": \u0024{node}"
  tags                 = "skyvyos;trixie"

  # The machine, as clones will have it.
  cores           = 4
  memory          = 4096
  cpu_type        = "host"
  numa            = true
  os              = "l26"
  scsi_controller = "virtio-scsi-single"
  qemu_agent      = true
  serials         = ["socket"]
  onboot          = true
  boot            = "order=virtio0;net0"
  machine         = "q35"
  bios            = "ovmf"

  efi_config {
    efi_storage_pool  = var.storage
    efi_type          = "4m"
    pre_enrolled_keys = true
  }

  tpm_config {
    tpm_storage_pool = var.storage
    tpm_version      = "v2.0"
  }

  vga {
    type = "serial0"
  }

  disks {
    type         = "virtio"
    disk_size    = "32G"
    storage_pool = var.storage
    format       = "raw"
    cache_mode   = "none"
    io_thread    = true
    discard      = true
  }

  network_adapters {
    model    = "virtio"
    bridge   = var.bridge
    vlan_tag = "42"
    firewall = true
  }

  boot_iso {
    iso_file = var.iso_url
    unmount  = true
  }

  # Holds no secret, for whoever asks may read it.
  http_directory = "${local.seed}/http"
  boot_wait      = "5s"
  boot_command = [
    "<wait>c<wait3>",
    "linux /install.amd/vmlinuz auto=true priority=critical url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg<enter><wait>",
    "initrd /install.amd/initrd.gz<enter><wait>",
    "boot<enter>",
  ]

  # A drive by which Proxmox gives clones their first user-data.
  cloud_init              = true
  cloud_init_storage_pool = var.storage

  # vendor-data makes this account; sealing removes it.
  communicator         = "ssh"
  ssh_username         = "packer"
  ssh_private_key_file = "${local.seed}/id_ed25519"
  ssh_timeout          = var.ssh_timeout

  # As the spec gives them.
  sockets = 2
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
