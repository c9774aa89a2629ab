"""Servers in place of the clouds: real programs on loopback, started when a test first asks for one.

`moto` and SeaweedFS speak S3, a stricter gcp-storage-emulator speaks Google Cloud Storage, Azurite speaks Azure.
The tests' index and channels are served by `loopback`.
"""
