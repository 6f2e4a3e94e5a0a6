"""Videos from video sites and pages, by yt-dlp."""
