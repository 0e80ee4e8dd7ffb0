"""Golden VM templates of SkyvyOS Server."""
