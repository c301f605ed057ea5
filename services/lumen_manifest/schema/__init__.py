"""The CustomResourceDefinitions, and the pages of the documentation made from the models."""
