"""Corpora of any size with known words, times and events; docs/demo.md tells how to use them.

```
world     what may happen: actors, actions, places; which combinations are held out for tests
story     which of it happens in video n, in which order, and the sentences that tell it
babble    sound for the words that is no speech    stored_voice   real speech, kept on disk
picture   backgrounds and shapes                   motion         what an action does to them
video     one video and the files beside it        corpus         many, in several processes
```
"""

from reelscript.examples.generate.corpus import generate
from reelscript.examples.generate.story import Recipe, story
from reelscript.examples.generate.video import frames, narration
from reelscript.examples.generate.world import combinations

__all__ = ["Recipe", "combinations", "frames", "generate", "narration", "story"]
