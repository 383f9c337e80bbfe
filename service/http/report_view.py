"""The reports of denoise and fine-tune jobs as the API shows them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class NoiseCurveView(BaseModel):
    """Variance of the noise against brightness, normalised: measured points, and the line α·max(x − black, 0) + σ²."""

    mean: list[float] = Field(description="Brightness of the points.")
    variance: list[float] = Field(description="Noise variance at each point.")
    alpha: float
    sigma: float
    black: float = Field(
        default=0.0,
        description="Brightness at which the noise ends: above 0 if the file has an offset.",
    )


class HistogramView(BaseModel):
    """Distribution of the residual over its expected standard deviation; N(0, 1) where the model holds."""

    edges: list[float] = Field(description="Bin edges, one more than counts.")
    counts: list[int]


class RegionView(BaseModel):
    """A rectangle of the result that should not be trusted, in its pixels; page and channel count from 0."""

    page: int = Field(examples=[0])
    channel: int = Field(examples=[0])
    x: int = Field(description="First column.", examples=[96])
    y: int = Field(description="First row.", examples=[32])
    width: int = Field(examples=[64])
    height: int = Field(examples=[32])
    reason: str = Field(
        description="`changed_more_than_noise`: more than twice as much was changed as there is noise, so the result "
        "is farther from the truth here than what was sent. More reasons may come.",
        examples=["changed_more_than_noise"],
    )


class ReportView(BaseModel):
    """What denoising did to the data, told without a clean target."""

    model_config = ConfigDict(title="Report", extra="allow")

    alpha: float = Field(
        description="Signal-dependent (Poisson) noise: Var = α·x + σ², x in [0, 1].", examples=[0.0101]
    )
    sigma: float = Field(description="Signal-independent (Gaussian) noise, normalised.", examples=[0.0004])
    alpha_native: float = Field(description="α in the units of the file.", examples=[2.57])
    sigma_native: float = Field(
        description="Noise std at `black_native`, in the units of the file: the variance of a value v is "
        "`alpha_native`·(v − `black_native`) + `sigma_native`². The read noise only if `black_native` is the sensor's "
        "dark level.",
        examples=[0.1],
    )
    black_native: float | None = Field(
        default=None,
        description="The darkest brightness of the image, or where its noise ends. In files in which large means dark "
        "(MONOCHROME1, WhiteIsZero) counted from the other end of the range. Null in reports of before 2026-11-23.",
        examples=[96.0],
    )
    unit_native: str = Field(
        default="",
        description="What the native numbers are in, where the file says so (FITS BUNIT, DICOM rescale type or units); "
        "BSCALE and BZERO, rescale slope and intercept are applied to them.",
        examples=["electron"],
    )
    noise_std_in: float = Field(description="Noise std of the upload, normalised.", examples=[0.067])
    noise_std_out: float = Field(
        description="Expected error left in the result, at the strength that was asked for, normalised.",
        examples=[0.013],
    )
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
    left_share: float = Field(
        default=0.0,
        description="Share of pixels so far outside the brightness of the others (hot pixels, marks for missing data) "
        "that they came back as they were.",
        examples=[0.0],
    )
    missing_share: float = Field(
        default=0.0,
        description="Share of pixels that measured nothing (padding, detector gaps, NaN, no data): they take part in "
        "no other number and came back as they were.",
        examples=[0.0],
    )
    noise_kind: dict[str, Any] = Field(
        default={},
        description="How noise depends on its neighbours: `kinds` names what is not independent (empty if nothing). "
        "The numbers are measured in the flattest parts of the upload, and under `after` of the result. Line and "
        "pattern amplitudes are in the file's units.",
        examples=[{"kinds": ["row_lines"], "row_lines": 14.8, "correlation_beside": [0.4, 0.4, 0.4]}],
    )
    regions: list[RegionView] = Field(
        default=[],
        max_length=16,
        description="Where the result is not to be trusted, the largest first; `warnings` says how much of the "
        "image such places are in all.",
    )
    rounded_share: float = Field(
        default=0.0,
        description="Share of pixels that were rounded up or down by chance, since the whole numbers of the file are "
        "coarser than the result's error: means stay, noise is added. `residual_mean` and `noise_std_out` are of what "
        "is delivered.",
        examples=[0.0],
    )
    channels: list[dict[str, float]] = Field(
        default=[],
        description="Of an image whose channels were denoised each by itself, the noise of each; the report's own "
        "numbers are then those of the channel with the most noise.",
    )
    model: str | None = Field(default=None, description="What denoised it.", examples=["base-gray"])
    model_sha256: str | None = Field(
        default=None, description="Of its weights; `model=base-gray@SHA256` takes just these again."
    )
    model_reason: str | None = Field(
        default=None,
        description="Why this model. Null in reports of before 2026-11-30.",
        examples=["the base for one channel, quality `fast`"],
    )
    backend: str | None = Field(
        default=None,
        description="What the network ran on, and in which precision. Null in reports of before 2026-11-30.",
        examples=["ncnn-float32", "onednn-bfloat16", "torch-float32", "cuda-float16"],
    )
    noise_curve: NoiseCurveView
    residual_histogram: HistogramView
    warnings: list[str] = Field(description="In plain words; empty when nothing is wrong.", examples=[[]])


class SetView(BaseModel):
    """What a fine-tune learned from."""

    kept: int = Field(description="Files that were used.", examples=[58])
    left_out: int = Field(description="Files that were not; `files` says why.", examples=[2])
    images: int = Field(description="Images in them: a page of a stack is one.", examples=[58])
    pixels: int = Field(examples=[15204352])
    channels: int = Field(examples=[1])
    dtype: str = Field(examples=["uint16"])


class FileVerdictView(BaseModel):
    """Whether one file was learned from."""

    name: str = Field(examples=["field-07.tif"])
    kept: bool
    reason: str | None = Field(description="Why it was left out.", examples=["an earlier file has the same pixels"])


class FineTuneReportView(BaseModel):
    """What a fine-tune found and made, told without a clean target."""

    model_config = ConfigDict(title="FineTuneReport", extra="allow")

    model: str = Field(description="The new model.", examples=["mdl_0192f0c1a2b37c4d8e5f60718293a4b5"])
    base_model: str = Field(description="The model that it had to beat.", examples=["base-gray"])
    from_scratch: bool = Field(description="Whether it started from nothing.")
    promoted: bool = Field(description="Whether it beat its base on images that it did not learn from.")
    scores: dict[str, float] = Field(
        description="On those images, in dB where not said otherwise: estimated PSNR of both models, and the gain.",
        examples=[{"base": 30.139, "finetuned": 30.513, "gain_db": 0.374}],
    )
    noise: dict[str, Any] = Field(
        description="α and σ of the set, normalised, and the curve they were fitted to; how alike neighbours are "
        "(`shape`), and in a sentence what was found and which way was taken (`said`)."
    )
    learning: dict[str, Any] | None = Field(
        default=None,
        description="The method that was asked for, the one that was used, and the scores in dB of those that were "
        "tried for a share of the budget. Null in reports of before 2026-12-01.",
        examples=[{"asked": "auto", "used": "thinning", "tried": []}],
    )
    frames: dict[str, Any] | None = Field(
        None,
        description="What was found of frames that belong together, and which way was taken: `sentence` says it. "
        "Null in reports of before 2026-12-01.",
        examples=[{"seen": 1, "pairs": False, "sentence": "No frames belong together; learned from: single images."}],
    )
    history: list[dict[str, Any]] = Field(
        description="The score over the training.",
        examples=[[{"step": 0, "score": 30.1}, {"step": 100, "score": 30.4}]],
    )
    set: SetView
    files: list[FileVerdictView] = Field(description="A verdict for each file, and for each in an archive.")
    warnings: list[str] = Field(description="In plain words; empty when nothing is wrong.", examples=[[]])
