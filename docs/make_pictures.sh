#!/usr/bin/env bash
# Make the pictures of the report page and of the demonstration again. It takes about ten minutes on two cores.
#
#     docs/make_pictures.sh 101_ObjectCategories      # of Caltech-101; from the repository's root
#
# Needs the extras demo, test and transfer, and Chromium.
set -euo pipefail
caltech=$(realpath "$1")
docs=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$docs/.." && python -m benchmarks.real_weights "$work/nets")
cd "$work"

# report*.png: the FC layers of net D learn 20 classes, on torchvision's convolutions
mkdir caltech-20
for name in bonsai brain buddha butterfly chandelier crab crayfish dalmatian dolphin elephant flamingo grand_piano \
    helicopter kangaroo laptop lotus starfish sunflower trilobite umbrella; do
    cp -r "$caltech/$name" caltech-20
done
verydeep train caltech-20 --init-from nets/vgg16-convolutions --fine-tune fc --crop 64 --fc-width 512 --batch-size 32 \
    --epochs 8 --out runs/caltech-20
take=(python "$docs/take_screenshot.py" runs/caltech-20/report.html)
"${take[@]}" "$docs/pictures/report.png" --width 1200 --height 900
"${take[@]}" "$docs/pictures/report-photograph.jpg" --width 1200 --height 900 --click "#cards button"

# demo.jpg: the same net, and an archive of its photographs
verydeep features runs/caltech-20 caltech-20 --out archive
verydeep demo runs/caltech-20 --archive archive --port 7861 &
demo=$!
until python -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:7861")' 2>/dev/null; do sleep 1; done
python "$docs/take_screenshot.py" http://127.0.0.1:7861 "$docs/pictures/demo.jpg" --height 1180 --wait "#neighbors img" \
    --click "#scales label:has-text('512')" --click "#place label:has-text('512')"
kill "$demo"
wait "$demo" || true
