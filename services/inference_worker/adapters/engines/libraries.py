"""diffusers and transformers as the other files here use them."""

from typing import Any

import diffusers as _diffusers
import transformers as _transformers

# Both fill their namespaces when asked, and annotate arguments more narrowly than they accept them: a type checker
# cannot see what is there and refuses what works.
diffusers: Any = _diffusers
transformers: Any = _transformers
