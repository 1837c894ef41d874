#!/usr/bin/env bash
# make deb: a package for machines like this one: its processor, its Python, its CUDA. In dist/.
#
#   deploy/deb.sh [--wheel FILE] [--extras LIST] [--python FILE]     as install.sh's
#   OUT=DIR        another place than dist/
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${OUT:-$here/../dist}
python=/usr/bin/python3
for ((i = 1; i < $#; i++)); do
  if [ "${!i}" = --python ]; then ((i++)); python=${!i}; fi
done

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 0755 "$stage"
DESTDIR=$stage "$here/install.sh" --skip accounts "$@"

# /usr/local is the administrator's
mkdir -p "$stage/usr/bin"
mv "$stage"/usr/local/bin/pose-* "$stage/usr/bin/"
rm -r "$stage/usr/local"

version=$("$stage/opt/jetpose/bin/python" -c 'from importlib.metadata import version; print(version("jetpose"))')
minor=$("$python" -c 'import sys; print(sys.version_info[1])')
architecture=$(dpkg --print-architecture)

mkdir "$stage/DEBIAN"
cat > "$stage/DEBIAN/control" << END
Package: jetpose
Version: $version
Architecture: $architecture
Maintainer: jetpose <jetpose@localhost>
Section: science
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$stage" | cut -f1)
Depends: python3 (>= 3.$minor~), python3 (<< 3.$((minor + 1))~), libgl1, libglib2.0-0t64 | libglib2.0-0, systemd
Recommends: python3-gi, gir1.2-gstreamer-1.0, gstreamer1.0-plugins-good
Description: human poses from cameras, as a service
 Networks that find people and their joints, run live from cameras and streams
 by TensorRT on NVIDIA Jetson or by ONNX Runtime: systemctl enable --now
 pose-run@camera, after a look at /etc/jetpose/camera.toml.
END
(cd "$stage" && find etc -type f -printf '/%p\n') > "$stage/DEBIAN/conffiles"
install -m 0755 "$here"/deb/{postinst,prerm,postrm} "$stage/DEBIAN/"

mkdir -p "$out"
dpkg-deb --root-owner-group -Zgzip --build "$stage" "$out/jetpose_${version}_$architecture.deb"
