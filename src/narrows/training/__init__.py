"""The training of networks, whatever their architecture and loss."""
