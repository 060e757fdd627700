# HAProxy from the machine that builds it, with its libraries. Its master process starts itself again by
# name for a new configuration.
FROM scratch
COPY rootfs/ /
ENV LD_LIBRARY_PATH=/usr/local/lib \
    PATH=/usr/local/sbin
RUN ["/usr/local/sbin/haproxy", "-v"]
EXPOSE 8200
ENTRYPOINT ["haproxy"]
CMD ["-W", "-db", "-f", "/balancer/haproxy.cfg"]
