"""Pictures as files: what their bytes are, what their containers say, and how they become RGB.

Used by the server, which decodes them, and by the client, which turns into a picture that a server
takes what is none: one rule for both, so that a picture has one vector by whichever door it comes.
"""
