"""Amazon EC2 and EBS as the registrar of the target aws uses them; boto3 is imported when it is used."""
