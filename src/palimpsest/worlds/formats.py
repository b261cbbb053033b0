"""Which files of others are read as pictures: raster formats, all of them decoded by Pillow's own code.

Pillow knows more. Some are programs that it hands to an interpreter (PostScript), some containers of anything; what a
file is called does not tell which one it is.
"""

FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA"),
    *("TIFF", "WEBP", "XBM"),
)
