"""What runs inside an emulated instance: root folder, first process, the part of systemd. Standard library only."""
