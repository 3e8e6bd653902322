"""The task of similarity: how alike in meaning are two sentences?"""
