"""The provider AWS: an EC2 instance in the user's own account, made so that it can never be left running."""
