"""How weights are learned, whatever the network and the loss."""
