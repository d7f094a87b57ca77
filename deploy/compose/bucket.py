# SPDX-License-Identifier: Apache-2.0
"""Makes the bucket of the compose file's S3 server, unless it is there. Run by the service `bucket`."""

from __future__ import annotations

import sys

import boto3
from botocore.exceptions import ClientError


def main(endpoint: str, bucket: str) -> None:
    """Make it."""
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise


if __name__ == "__main__":
    main(*sys.argv[1:])
