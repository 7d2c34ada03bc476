#!/usr/bin/env bash
# Renders over REST with nothing but curl: `bash examples/render.sh [request.json]`.
set -euo pipefail

small='{"model": "skywork-skyreels-v2", "prompt": "a red square", "width": 320, "height": 192, "num_frames": 17}'
if [ $# -gt 0 ]; then body=@$1; else body=$small; fi

ask() { curl --silent --show-error --fail-with-body --header "Authorization: Bearer $FORGE_API_KEY" "$@"; }

accepted=$(ask "$FORGE_API_BASE/v1/renders" --data "$body") || { echo "$accepted" >&2; exit 1; }
id=$(grep --only-matching --max-count 1 'rnd_[0-9a-z]*' <<<"$accepted" | head -n 1)

# One event a line, until the render has ended.
last=$(ask --no-buffer "$FORGE_API_BASE/v1/renders/$id/events" | tee /dev/stderr | tail -n 1)
grep --quiet '"status":"succeeded"' <<<"$last"

ask "$FORGE_API_BASE/v1/renders/$id/video" --output "$id.mp4"
echo "$id.mp4"
