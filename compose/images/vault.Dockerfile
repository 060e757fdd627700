# A Vault server: one static binary under both names, since every compose file and health check uses
# `vault`, as in the images of HashiCorp and OpenBao. `node.cut` calls `ip` in a container, so `ip` and its
# libraries are there too.
FROM scratch
COPY rootfs/ /
ENV PATH=/bin \
    LD_LIBRARY_PATH=/usr/local/lib \
    VAULT_ADDR=http://127.0.0.1:8200
RUN ["/bin/vault", "version"]
EXPOSE 8200 8201
ENTRYPOINT ["/bin/vault"]
CMD ["server", "-config=/vault/config"]
