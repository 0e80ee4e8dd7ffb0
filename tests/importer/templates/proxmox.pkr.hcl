packer {
  required_plugins {
    proxmox = {
      version = ">= 1.1.3"
      source  = "github.com/hashicorp/proxmox"
    }
  }
}

variable "proxmox_api_url" {
  type = string
}

variable "proxmox_api_token_id" {
  type = string
}

variable "proxmox_api_token_secret" {
  type      = string
  sensitive = true
}

variable "disk_storage" {
  type    = string
  default = "local-zfs"
}

locals {
  disk_storage = var.disk_storage
}

source "proxmox-iso" "debian-12" {
  proxmox_url              = var.proxmox_api_url
  username                 = var.proxmox_api_token_id
  token                    = var.proxmox_api_token_secret
  insecure_skip_tls_verify = true

  node                 = "pve01"
  vm_id                = "9012"
  vm_name              = "tpl-debian-12.5"
  template_description = <<-EOT
    Debian 12
    built on ${formatdate("YYYY", timestamp())}
  EOT
  tags                 = "debian;template"

  iso_file         = "local:iso/debian-12.5.0-amd64-netinst.iso"
  iso_storage_pool = "local"
  unmount_iso      = true
  qemu_agent       = true
  scsi_controller  = "virtio-scsi-pci"

  disks {
    disk_size    = "20G"
    format       = "raw"
    storage_pool = local.disk_storage
    type         = "virtio"
    mbps_rd      = 100
  }
  disks {
    disk_size    = "100G"
    storage_pool = local.disk_storage
    type         = "virtio"
  }

  cores   = var.cores
  sockets = 1
  memory  = "2048"

  network_adapters {
    model    = "virtio"
    bridge   = "vmbr1"
    firewall = "false"
    vlan_tag = "20"
  }

  cloud_init              = true
  cloud_init_storage_pool = "local-zfs"

  boot         = "c"
  boot_wait    = "10s"
  boot_command = ["<esc><wait>", "auto url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg<enter>"]

  http_directory = "http"
  ssh_username   = "root"
  ssh_password   = "canary-ssh"
  ssh_timeout    = "20m"
}

variable "cores" {
  default = 2
}

build {
  name    = "debian"
  sources = ["source.proxmox-iso.debian-12"]

  provisioner "shell" {
    inline = [
      "while [ ! -f /var/lib/cloud/instance/boot-finished ]; do sleep 1; done",
      "truncate -s 0 /etc/machine-id",
    ]
  }

  provisioner "file" {
    source      = "files/99-pve.cfg"
    destination = "/tmp/99-pve.cfg"
  }
}
