# The Python of the machine that builds it: interpreter, standard library, shared libraries, nothing else.
# `invoke images` gathers rootfs/ from what is already there, so no registry and no mirror is asked.
FROM scratch
COPY rootfs/ /
ENV PATH=/usr/local/bin \
    LD_LIBRARY_PATH=/usr/local/lib \
    PYTHONHOME=/usr/local \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LANG=C.UTF-8
ENTRYPOINT ["/usr/local/bin/python3"]
