"""Lightning training of the embedded prior: autoencoder, text encoder and UNet, judge."""
