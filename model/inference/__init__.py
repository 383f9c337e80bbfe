"""From a noisy array to a denoised one: windows, exposures, backends, precision."""
