# The Python of the machine that builds it: interpreter, standard library and shared libraries.
# Each of these files runs its content once, so that an image that cannot start is not built.
# `invoke images` collects rootfs/ from this machine, without any registry or mirror.
FROM scratch
COPY rootfs/ /
ENV PATH=/usr/local/bin \
    LD_LIBRARY_PATH=/usr/local/lib \
    PYTHONHOME=/usr/local \
    PYTHONPATH=/app/packages \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LANG=C.UTF-8
RUN ["/usr/local/bin/python3", "-c", "import asyncio, ctypes, hashlib, ssl, zlib"]
ENTRYPOINT ["/usr/local/bin/python3"]
