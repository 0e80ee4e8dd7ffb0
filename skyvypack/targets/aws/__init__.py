"""The target aws: AMIs of Amazon EC2."""

# NoCloud is for the clones that prove a disk where it was baked; on EC2 itself, Ec2 is found first.
DATASOURCES = ("Ec2", "NoCloud", "None")
# EC2 user guide, "Work with instance user data": 16 KB before base64.
USER_DATA_LIMIT = 16 * 1024
