# HAProxy around the one of the machine that builds it, with the libraries that it needs. Its master
# process starts itself again for a new configuration, by its name.
FROM scratch
COPY rootfs/ /
ENV LD_LIBRARY_PATH=/usr/local/lib \
    PATH=/usr/local/sbin
RUN ["/usr/local/sbin/haproxy", "-v"]
EXPOSE 8200
ENTRYPOINT ["haproxy"]
CMD ["-W", "-db", "-f", "/balancer/haproxy.cfg"]
