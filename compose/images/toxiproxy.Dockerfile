# The real Toxiproxy: a toxiproxy-server from the machine that builds it.
FROM scratch
COPY rootfs/ /
ENV LD_LIBRARY_PATH=/usr/local/lib
RUN ["/toxiproxy", "-version"]
EXPOSE 8474
ENTRYPOINT ["/toxiproxy"]
CMD ["-host=0.0.0.0"]
