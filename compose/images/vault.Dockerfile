# A Vault server around one static binary. Both names are there, since every compose file and every
# health check says `vault`, as in the images of HashiCorp and of OpenBao. Beside it `ip` with its
# libraries, which `node.cut` calls in a container.
FROM scratch
COPY rootfs/ /
ENV PATH=/bin \
    LD_LIBRARY_PATH=/usr/local/lib \
    VAULT_ADDR=http://127.0.0.1:8200
RUN ["/bin/vault", "version"]
EXPOSE 8200 8201
ENTRYPOINT ["/bin/vault"]
CMD ["server", "-config=/vault/config"]
