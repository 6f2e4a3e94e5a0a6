"""TVTSv2: a masked video tower, a text tower and a head that sorts transcripts.

Zhuang et al., "TVTSv2: Learning Out-of-the-box Spatiotemporal Visual Representations at Scale",
arXiv 2305.14173, and its predecessor TVTS, arXiv 2209.15280. Nothing here is imported before it is
asked for: `from reelscript.models.tvts.model import TVTS`.
"""
