# A service for one model:
#   docker build -t plait .
#   docker run --rm -p 8000:8000 -v "$PWD/runs/shop:/model:ro" plait
# The model is mounted, so that one image serves any. EXTRAS: what its encoders need (text, image, audio, video, hub).
FROM python:3.12-slim

ARG EXTRAS=serve,text,image
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 PLAIT_QUIET=1 PLAIT_STORE=/home/plait/store

WORKDIR /opt/plait
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
# torch for the processor alone: the usual wheel would bring gigabytes of CUDA.
RUN pip install -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu "torch>=2.6"
RUN pip install -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu ".[${EXTRAS}]"

RUN useradd --create-home --uid 10001 plait
USER plait
WORKDIR /home/plait
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4).read()"]
ENTRYPOINT ["plait", "serve"]
CMD ["/model", "--host", "0.0.0.0", "--port", "8000"]
