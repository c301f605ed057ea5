"""What a picture's file says of itself, read without decoding a pixel; before it is opened.

A module a format. Each walks the container in a bounded number of steps, reads the sizes from the
bitstream that the decoder will see, and says what decoding will cost. Where the format allows it,
what the decoder gets is written anew from the parts that make the pixels: metadata never reaches
a library that would unpack it.
"""
