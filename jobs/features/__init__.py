"""`reelscript features`: one embedding a video, from a checkpoint of TVTSv2 or of ours."""
