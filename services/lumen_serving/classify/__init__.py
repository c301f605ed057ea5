"""From vectors to labels and scenes, in the form that a request asks for."""
