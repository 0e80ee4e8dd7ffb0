variable "aws_region" {
  default = env("AWS_DEFAULT_REGION")
}

data "amazon-parameterstore" "ami" {
  name = "/aws/service/debian/release/bookworm/latest/amd64"
}

source "amazon-ebs" "web" {
  ami_name      = "web-server-2.4.1"
  instance_type = "t3.medium"
  region        = var.aws_region
  access_key    = "AKIAIOSFODNN7CANARY0"
  secret_key    = "canary-secret-key"
  ami_regions   = ["eu-central-1"]
  source_ami_filter {
    filters = {
      name                = "debian-12-amd64-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
      description         = "Debian 12"
    }
    most_recent = true
    owners      = ["136693071363"]
  }
  subnet_filter {
    filters = {
      "tag:Class" = "build"
    }
    most_free = true
  }
  vpc_filter {
    filters = { "isDefault" = "false" }
  }
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 30
    volume_type           = "gp3"
    throughput            = 250
    encrypted             = true
    delete_on_termination = true
  }
  spot_price    = "auto"
  ssh_username  = "admin"
  ssh_interface = "session_manager"
  user_data     = "#cloud-config\npassword: canary-user-data\n"
  tags = {
    Name   = "web"
    Team   = "platform"
    Source = "{{ .SourceAMI }}"
  }
  run_tags = {
    Team = "platform"
  }
}

source "null" "check" {
  communicator = "none"
}

build {
  sources = ["source.amazon-ebs.web"]
  provisioner "shell" {
    script = "setup.sh"
  }
  error-cleanup-provisioner "shell" {
    inline = ["journalctl"]
  }
}
