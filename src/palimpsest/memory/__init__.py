"""An audit by inversion: is a concept, or one picture, still reachable from likely seeds of an edited model?"""
