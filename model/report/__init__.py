"""What denoising did to the data, told without a clean target."""
