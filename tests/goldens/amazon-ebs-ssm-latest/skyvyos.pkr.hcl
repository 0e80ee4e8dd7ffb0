# SkyvyOS Server 1.0.0 (Debian 13 trixie), made by skyvypack for Packer 1.16.0; README.md says how to use it.

packer {
  required_version = ">= 1.7.0"

  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.8.2, < 2.0.0"
    }
  }
}

variable "region" {
  type        = string
  description = "Where the AMI is made."
  default     = env("AWS_REGION")

  validation {
    condition     = var.region != ""
    error_message = "Give region or AWS_REGION in the environment."
  }
}

variable "instance_type" {
  type        = string
  description = "Of the instance that makes the AMI."
  default     = "t3.small"

  validation {
    condition     = var.instance_type != ""
    error_message = "Give instance_type."
  }
}

variable "subnet_id" {
  type        = string
  description = "VPC subnet of the instance; empty for one of the default VPC."
  default     = "subnet-0a"
}

variable "seed" {
  type        = string
  description = "Folder of id_ed25519 and vendor-data, made by prepare.sh. Empty: build."
  default     = ""
}

variable "ssh_timeout" {
  type        = string
  description = "How long the guest may take until it answers."
  default     = "10m"
}

# Variables cannot name this folder in their defaults, locals can.
locals {
  seed = var.seed == "" ? "${path.root}/build" : var.seed
  tags = {
    Name = "skyvyos-server-1.0.0"
  }
}

source "amazon-ebs" "skyvyos-server" {
  # Credentials come from AWS's own variables of the environment, profiles or roles.
  region = var.region

  # A name of its own for each version: the last one stays until this one is proven.
  ami_name                = "skyvyos-server-1.0.0"
  ami_description         = "SkyvyOS Server 1.0.0 (Debian 13 trixie)"
  ami_virtualization_type = "hvm"
  ena_support             = true
  imds_support            = "v2.0"

  # Where it is known, and who may launch it.
  tags          = local.tags
  snapshot_tags = local.tags
  run_tags      = local.tags

  # The instance that makes it, gone when it is there.
  instance_type        = var.instance_type
  subnet_id            = var.subnet_id
  ssh_interface        = "session_manager"
  iam_instance_profile = "managed"

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  # Only the build account: the configuration may be larger than EC2 takes.
  user_data_file = "${local.seed}/vendor-data"

  source_ami_filter {
    filters = {
      name                = "debian-13-amd64-*"
      architecture        = "x86_64"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = ["136693071363"]
    most_recent = true
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = 8
    delete_on_termination = true
  }

  # vendor-data makes this account; sealing removes it.
  communicator         = "ssh"
  ssh_username         = "packer"
  ssh_private_key_file = "${local.seed}/id_ed25519"
  ssh_timeout          = var.ssh_timeout

  # Sealing stops the instance; the builder waits for that.
  disable_stop_instance = true
  shutdown_behavior     = "stop"
}

build {
  sources = ["source.amazon-ebs.skyvyos-server"]

  # The configuration comes by SSH: this platform has no way, or not enough room, to start a machine with it.
  provisioner "file" {
    sources     = ["${path.root}/user-data", "${path.root}/meta-data", "${local.seed}/vendor-data"]
    destination = "/tmp/"
  }

  # Restarts the guest, whose cloud-init then configures it.
  provisioner "shell" {
    scripts           = ["${path.root}/scripts/apply.sh"]
    execute_command   = "sudo env {{ .Vars }} sh '{{ .Path }}'"
    expect_disconnect = true
  }

  # Waits for cloud-init, which configures everything; fails with its errors.
  provisioner "shell" {
    scripts         = ["${path.root}/scripts/wait.sh"]
    execute_command = "sudo env {{ .Vars }} sh '{{ .Path }}'"
    pause_before    = "15s"
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
