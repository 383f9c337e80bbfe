"""The same `Denoiser` behind one HTTP endpoint of LitServe and of BentoML, for `benchmarks.peers_service`.

    PEERS/bin/python -m benchmarks.peers_endpoints litserve PORT
    PEERS/bin/python -m bentoml serve benchmarks.peers_endpoints:Bento --port PORT

Both decode in the process that computes, and keep nothing: no job, no report to fetch later, no isolation of the codec.
"""

import sys
from importlib.util import find_spec
from pathlib import Path


class Work:
    """Bytes in, bytes out, with the report that the service makes."""

    def __init__(self) -> None:
        from model import Denoiser

        self._denoiser = Denoiser.load("base-gray")

    def __call__(self, data: bytes) -> bytes:
        """The denoised image as a file of the same type."""
        from images.decode import decode_here
        from images.encode import encode

        decoded = decode_here(data)
        pixels, _ = self._denoiser.denoise_with_report(decoded.pixels)
        return encode(decoded, pixels).data


if find_spec("bentoml"):
    import bentoml  # type: ignore[import-not-found,unused-ignore]

    @bentoml.service(workers=1, traffic={"timeout": 300, "max_concurrency": 256})
    class Bento:
        """BentoML's service: a file in a form, a file back."""

        def __init__(self) -> None:
            self._work = Work()

        @bentoml.api(route="/denoise")  # type: ignore[untyped-decorator,unused-ignore]  # not installed where mypy runs
        def denoise(self, image: Path, context: bentoml.Context) -> Path:
            """The same as every other endpoint here."""
            made = Path(context.temp_dir) / "result.png"
            made.write_bytes(self._work(image.read_bytes()))
            return made


if find_spec("litserve"):
    import litserve  # type: ignore[import-not-found,unused-ignore]
    from starlette.requests import Request
    from starlette.responses import Response

    class Lit(litserve.LitAPI):  # type: ignore[misc,unused-ignore]  # not installed where mypy runs
        """LitServe's API: a file in a form, a file back."""

        def setup(self, device: str) -> None:
            """Load the model where it is used."""
            self._work = Work()

        def decode_request(self, request: Request) -> bytes:
            """The bytes of the form's file."""
            data: bytes = request["image"].file.read()
            return data

        def predict(self, data: bytes) -> bytes:
            """The same as every other endpoint here."""
            return self._work(data)

        def encode_response(self, output: bytes) -> Response:
            """The file as it is."""
            return Response(output, media_type="image/png")


def serve_litserve(port: int) -> None:
    """Run LitServe until it is stopped."""
    api = Lit(api_path="/denoise")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=300)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    if sys.argv[1:2] != ["litserve"]:
        raise SystemExit("usage: python -m benchmarks.peers_endpoints litserve PORT")
    serve_litserve(int(sys.argv[2]))
