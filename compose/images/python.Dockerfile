# The Python of the machine that builds it: interpreter, standard library, shared libraries, nothing else.
# Each of these files runs once what it holds, so that nothing is called built that cannot start.
# `invoke images` gathers rootfs/ from what is already there, so no registry and no mirror is asked.
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
