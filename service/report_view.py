"""The report of a denoise job as the API shows it."""

from pydantic import BaseModel, ConfigDict, Field


class NoiseCurveView(BaseModel):
    """Variance of the noise against brightness, normalised: the measured points and the fitted line αx + σ²."""

    mean: list[float] = Field(description="Brightness of the points.")
    variance: list[float] = Field(description="Noise variance at each point.")
    alpha: float
    sigma: float


class HistogramView(BaseModel):
    """Distribution of the residual over its expected standard deviation; N(0, 1) where the model holds."""

    edges: list[float] = Field(description="Bin edges, one more than counts.")
    counts: list[int]


class ReportView(BaseModel):
    """What denoising did to the data, told without a clean target."""

    model_config = ConfigDict(title="Report", extra="allow")

    alpha: float = Field(
        description="Signal-dependent (Poisson) noise: Var = α·x + σ², x in [0, 1].", examples=[0.0101]
    )
    sigma: float = Field(description="Signal-independent (Gaussian) noise, normalised.", examples=[0.0004])
    alpha_native: float = Field(description="α in the units of the file.", examples=[2.57])
    sigma_native: float = Field(description="σ in the units of the file.", examples=[0.1])
    noise_std_in: float = Field(description="Noise std of the upload, normalised.", examples=[0.067])
    noise_std_out: float = Field(description="Expected error left in the result, normalised.", examples=[0.013])
    residual_mean: float = Field(description="Mean of upload minus result; 0 if unbiased.", examples=[0.0001])
    residual_std_ratio: float = Field(
        description="Std of the residual over that of the estimated noise; near 1 if it is noise that was taken out.",
        examples=[0.98],
    )
    residual_autocorrelation: list[float] = Field(
        description="At lags 1, 2, 3 pixels; 0 if white.", examples=[[0.01, 0.0, 0.0]]
    )
    residual_signal_correlation: float = Field(
        description="Residual against result; 0 if no structure was taken.", examples=[0.01]
    )
    clipped_share: float = Field(description="Share of pixels at an end of the file's range.", examples=[0.0])
    noise_curve: NoiseCurveView
    residual_histogram: HistogramView
    warnings: list[str] = Field(description="In plain words; empty when nothing is wrong.", examples=[[]])
