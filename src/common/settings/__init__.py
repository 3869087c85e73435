"""What conf/lake.yaml and conf/streaming.yaml may say, as types. Pure: no file, no lake."""
