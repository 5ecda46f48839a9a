# SPDX-License-Identifier: Apache-2.0
"""What is installed, in bytes, stripped."""
import os
import shutil
import tempfile

import common


def main():
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("skerry", "skerry-shim"):
            path = os.path.join(folder, name)
            shutil.copy(os.path.join(common.BUILD, name), path)
            common.out("strip", path)
            rows.append({"program": name, "stripped_bytes": os.path.getsize(path)})
            print(rows[-1], flush=True)
    common.save("size", rows, machine=common.machine())


main()
