"""MuseTalk (Zhang et al. 2024), versions 1.5 and 1.0: a UNet paints the lower face that speech asks for.

Needs torch and diffusers (the extra ``musetalk``) and the published weights; nothing here is imported without.
"""
