"""Pre-training on a corpus: `reelscript pretrain CONFIG.yaml --data DIR -o RUN`."""
