"""The target aws: AMIs of Amazon EC2."""

DATASOURCES = ("Ec2", "None")
# EC2 user guide, "Work with instance user data": 16 KB before base64.
USER_DATA_LIMIT = 16 * 1024
