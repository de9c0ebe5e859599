# The app for a server without a GPU:
#     docker build -t denoised-nl .
#     docker run --rm -p 127.0.0.1:8501:8501 denoised-nl
# Your checkpoints and CamVid: -v /path/to/zoo:/zoo:ro -e DNL_CHECKPOINTS=/zoo -v /path/to/CamVid:/data:ro -e DNL_DATA=/data
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/home/viewer MPLCONFIGDIR=/tmp/matplotlib
# Names in Chinese, Japanese and Korean, which matplotlib's own fonts lack, are drawn with this TrueType font.
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-wqy-zenhei && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 viewer
WORKDIR /app

# PyTorch's build without CUDA is a tenth of the size; the version is that of requirements.txt.
COPY requirements.txt .
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' requirements.txt)" \
    && pip install --no-cache-dir -r requirements.txt

COPY app.py ./
COPY .streamlit .streamlit
COPY dnl dnl
COPY analysis analysis
COPY pages pages

USER viewer
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["python", "-m", "streamlit", "run", "app.py", "--server.headless=true", "--server.address=0.0.0.0", \
     "--server.port=8501", "--server.fileWatcherType=none"]
